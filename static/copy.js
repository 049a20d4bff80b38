// Copies a URL into the clipboard. Without scripts the buttons stay hidden: the URL is selected by a click on it.

for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  const label = button.firstChild;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      label.textContent = "Copied";
    } catch {
      label.textContent = "Select and copy it";
    }
    setTimeout(() => {
      label.textContent = "Copy";
    }, 2000);
  });
}
