import { createRoot } from "react-dom/client";
import { App } from "./App";

const [, , tenant] = location.pathname.split("/"); // /app/{tenant}/

createRoot(document.getElementById("app")!).render(<App tenant={tenant} />);
