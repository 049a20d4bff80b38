// Upload with progress. XMLHttpRequest, because `fetch` does not tell how much was sent.

import * as portal from "/static/portal.js";
import { $, element, name, say, tenant } from "./page.js";
import { reasonOf } from "./sign-in.js";
import { count, t } from "./words.js";

const bar = $("file-progress");
const stop = $("file-stop");
let request;

function show(part) {
  bar.value = part * 100;
  $("file-percent").textContent = part ? `${Math.round(part * 100)} %` : "";
}

/** Sends a file; resolves to the request when it has ended. */
function sent(file) {
  return new Promise((resolve, reject) => {
    request = new XMLHttpRequest();
    request.open("POST", `/t/${tenant}/api/files`);
    request.setRequestHeader("X-Portal-CSRF", "1");
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    request.upload.onprogress = ({ loaded, total }) => show(loaded / total);
    request.onload = () => resolve(request);
    request.onerror = () => reject(new Error(t("notUploaded", { reason: t("offline") })));
    request.onabort = () => reject(new Error(t("stopped")));
    request.send(file);
  });
}

const isPortals401 = (ended) => ended.status === 401 && ended.getResponseHeader("X-Portal-Problem") === "1";

async function upload(file) {
  // Asked before a large file is sent for nothing.
  const { tenants } = await portal.session();
  if (!tenants.some(({ slug }) => slug === tenant)) await portal.login({ tenant, popup: true });
  let ended = await sent(file);
  if (isPortals401(ended)) {
    await portal.login({ tenant, popup: true });
    ended = await sent(file);
  }
  if (ended.status !== 201) throw new Error(t("notUploaded", { reason: t("failure", { status: ended.status }) }));
  return JSON.parse(ended.responseText);
}

async function submitted(event) {
  event.preventDefault();
  const [file] = $("file").files;
  $("file-error").textContent = file ? "" : t("needFile");
  if (!file || !stop.hidden) return;
  stop.hidden = $("file-progress-row").hidden = false;
  try {
    const { bytes, sha256 } = await upload(file);
    const size = t("bytes", { size: count(bytes) });
    $("file-list").prepend(
      element(
        "li",
        {},
        element("span", { className: "strong" }, name(file.name)),
        element("span", { className: "soft", textContent: size }),
        element("code", { textContent: `SHA-256 ${sha256}` }),
      ),
    );
    say(t("uploaded", { name: file.name }));
  } catch (error) {
    show(0);
    $("file-progress-row").hidden = true;
    $("file-error").textContent = reasonOf(error) || error.message;
  } finally {
    stop.hidden = true;
  }
}

export function begin() {
  $("file-form").addEventListener("submit", submitted);
  stop.addEventListener("click", () => {
    request?.abort();
    $("file").focus();
  });
}
