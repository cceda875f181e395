// The page as a whole: it is rendered again whenever its address changes.

let leadsToCase = false;

/** Called by links to a case: once the address has changed, the case is brought into view. */
function leadToCase(event) {
  const opensElsewhere = event.ctrlKey || event.metaKey || event.shiftKey;
  if (opensElsewhere) return;
  leadsToCase = true;
  // A link to the case that is shown already changes no address.
  if (this.getAttribute("href") === window.location.hash) showCase();
}

function showCase() {
  leadsToCase = false;
  const title = document.getElementById("case-title");
  title.focus({ preventScroll: true });
  title.scrollIntoView();
}

/** Go to another state, to which the back button leads back from later ones. */
function go(changes) {
  window.history.pushState(null, "", addressOf(changes));
  renderAddress();
}

/** Change the state without another step for the back button. */
function replaceAddress(changes) {
  window.history.replaceState(null, "", addressOf(changes));
  readAddress();
}

function render() {
  summary = summarize();
  renderFilters(document.getElementById("filters"));
  renderMethods();
  renderMatrix();
  renderCase();
}

function renderAddress() {
  if (readAddress()) render();
}

function start() {
  if (!PAGE.cases.length) return;
  for (const element of document.querySelectorAll("[data-needs-script]")) element.hidden = false;
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  readAddress();
  render();
  if (window.location.hash.includes("case=")) showCase();
  window.addEventListener("hashchange", () => {
    renderAddress();
    if (leadsToCase) showCase();
  });
  let width = document.documentElement.clientWidth;
  window.addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    renderCase();
  });
}

start();
