// The state of the page, which is the part of the address after "#": it can be linked to, and the
// browser's back button restores it.

const PAGE = JSON.parse(document.getElementById("data").textContent);
const ALL = "";

const INITIAL = {
  universe: PAGE.universe,
  level: PAGE.level,
  tier: ALL,
  release: ALL,
  ablation: ALL,
  case: PAGE.cases.length ? PAGE.cases[0].id : "",
  method: "",
  edges: "",
};

let state = { ...INITIAL };

/** The address of the current state with changes; what is as at the start is left out. */
function addressOf(changes) {
  const wanted = { ...state, ...changes };
  const told = Object.keys(INITIAL)
    .filter((name) => wanted[name] !== INITIAL[name] || name in changes)
    .map((name) => [name, wanted[name]])
    .filter(([name, value]) => value !== "" || INITIAL[name] !== "");
  return `#${new URLSearchParams(told)}`;
}

/** Read the state from the address; false if that only names a section of the page. */
function readAddress() {
  const text = window.location.hash.slice(1);
  if (text && !text.includes("=")) return false;
  const told = new URLSearchParams(text);
  state = { ...INITIAL };
  for (const name of Object.keys(INITIAL)) {
    if (told.has(name)) state[name] = told.get(name);
  }
  correctState();
  return true;
}

/** Replace what the benchmark does not have. */
function correctState() {
  const known = {
    universe: PAGE.universes,
    level: PAGE.levels,
    case: PAGE.cases.map((each) => each.id),
    tier: [ALL, ...PAGE.tiers.map((each) => `is:${each}`)],
    release: [ALL, ...PAGE.cases.flatMap((each) => each.releases)],
    ablation: [ALL, ...PAGE.contenders.map((each) => `is:${each.ablation}`)],
    method: ["", ...PAGE.contenders.map((each) => each.label)],
  };
  for (const [name, values] of Object.entries(known)) {
    if (!values.includes(state[name])) state[name] = INITIAL[name];
  }
  if (!/^\d{0,9}$/.test(state.edges)) state.edges = "";
}
