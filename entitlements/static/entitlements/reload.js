// Loads the page again at intervals, so that it tells how things are now; never while somebody types or looks elsewhere.
const seconds = Number(document.querySelector("[data-reload-seconds]").dataset.reloadSeconds);
const isTyped = () => [...document.querySelectorAll("input[type=text], input[type=search]")].some((field) => field.value);

setInterval(() => {
  if (!document.hidden && !isTyped()) location.reload();
}, seconds * 1000);
