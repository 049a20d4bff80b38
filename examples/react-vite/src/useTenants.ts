import { useEffect, useState } from "react";
import * as portal from "tenant-portal-client";

/** The tenants that the user is signed in to, always as they are now; null until the portal has responded. */
export function useTenants(): portal.Tenant[] | null {
  const [tenants, setTenants] = useState<portal.Tenant[] | null>(null);
  useEffect(() => {
    let mounted = true;
    const read = () => portal.session().then(({ tenants }) => mounted && setTenants(tenants));
    const stop = [portal.on("signed_in", read)];
    void read();
    return () => {
      mounted = false;
      for (const end of stop) end();
    };
  }, []);
  return tenants;
}
