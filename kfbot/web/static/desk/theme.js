// Before anything is drawn: light or dark as it was chosen here; else as the system has it.
try {
  const theme = JSON.parse(localStorage.getItem("kfbot.desk.theme"));
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Nothing is kept in this browser.
}
