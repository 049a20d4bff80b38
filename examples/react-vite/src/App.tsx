import { type FormEvent, useEffect, useState } from "react";
import * as portal from "tenant-portal-client";
import { useTenants } from "./useTenants";

interface Order {
  id: string;
  customer: string;
  item: string;
  quantity: number;
}

export function App({ tenant }: { tenant: string }) {
  const tenants = useTenants();
  if (!tenants) return <p>Loading …</p>;
  const current = tenants.find(({ slug }) => slug === tenant);
  if (!current) {
    return (
      <button type="button" onClick={() => portal.login({ tenant })}>
        Sign in
      </button>
    );
  }
  return (
    <>
      <h1>Orders</h1>
      <p>
        {current.user}, {current.name}
      </p>
      <Orders tenant={tenant} />
      {tenants
        .filter(({ slug }) => slug !== tenant)
        .map(({ slug, name }) => (
          <button type="button" key={slug} onClick={() => portal.switchTo(slug)}>
            {name}
          </button>
        ))}
      <button type="button" onClick={() => portal.logout({ tenant })}>
        Sign out
      </button>
    </>
  );
}

function Orders({ tenant }: { tenant: string }) {
  const [orders, setOrders] = useState<Order[]>([]);
  const [message, setMessage] = useState("");

  useEffect(() => {
    const stop = new AbortController();
    portal
      .fetch({ tenant, path: "/orders" }, { signal: stop.signal })
      .then((response) => response.json())
      .then(({ orders }: { orders: Order[] }) => setOrders(orders))
      .catch((error: Error) => stop.signal.aborted || setMessage(error.message));
    return () => stop.abort();
  }, [tenant]);

  async function place(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const order = { ...Object.fromEntries(new FormData(form)), quantity: 1, total: "1.00", currency: "EUR", status: "new" };
    try {
      const response = await portal.fetch(
        { tenant, path: "/orders" },
        { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(order) },
      );
      if (!response.ok) throw new Error(`The API responded with ${response.status}.`);
      const made: Order = await response.json();
      setOrders((before) => [...before, made]);
      setMessage("Placed.");
      form.reset();
    } catch (error) {
      setMessage((error as Error).message); // the form still has what was typed
    }
  }

  return (
    <>
      <p role="status">{message}</p>
      <ul>
        {orders.map(({ id, customer, item, quantity }) => (
          <li key={id}>
            {customer}: {quantity} × {item}
          </li>
        ))}
      </ul>
      <form onSubmit={place}>
        <p>
          <label>
            Customer <input name="customer" required />
          </label>
        </p>
        <p>
          <label>
            Item <input name="item" required />
          </label>
        </p>
        <p>
          <button>Place the order</button>
        </p>
      </form>
    </>
  );
}
