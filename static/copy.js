// Copies a URL into the clipboard. Without scripts the buttons stay hidden: the URL is selected by a click on it.

for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  const label = button.firstChild;
  const before = label.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      label.textContent = button.dataset.done;
    } catch {
      label.textContent = button.dataset.failed;
    }
    setTimeout(() => {
      label.textContent = before;
    }, 2000);
  });
}
