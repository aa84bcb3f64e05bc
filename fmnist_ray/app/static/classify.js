// The page that labels images: its input (files, drawing, test images) and its answer.
import { Drawing } from "./drawing.js";

const $ = (selector) => document.querySelector(selector);
const answerPlace = $("#answer");
const EARLIER = 12;
const TRIES = 10;
const PAUSE = 1000;
let newest = 0;
let pickSeed = 0;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;

// An answer changes nothing, so a question that got none is asked again.
async function post(...request) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await fetch(...request);
    } catch (error) {
      if (tried === TRIES) throw error;
      await new Promise((done) => setTimeout(done, PAUSE));
    }
  }
}

async function ask(blob) {
  const begun = performance.now();
  const response = await post("/api/predict?members=true&seen=true", {
    method: "POST",
    body: blob,
    headers: { "content-type": blob.type.startsWith("image/") ? blob.type : "application/octet-stream" },
  });
  let content;
  try {
    content = await response.json();
  } catch {
    throw new Error(`The service answered with status ${response.status}. Try again.`);
  }
  if (!response.ok) throw new Error(content.error);
  return { ...content.predictions[0], milliseconds: performance.now() - begun };
}

// Shows the answer to an image, unless a newer one has been asked about meanwhile.
async function classify(blob, { title, truth = null, keep = true }) {
  const mine = ++newest;
  const source = URL.createObjectURL(blob);
  try {
    const answer = await ask(blob);
    const found = { ...answer, title, truth, source };
    if (mine === newest) show(found);
    if (keep) remember(found);
  } catch (error) {
    const message = error instanceof TypeError ? "The service cannot be reached. Is it still running?" : error.message;
    if (mine === newest) showProblem(message, title);
  }
}

function showProblem(message, title) {
  answerPlace.replaceChildren(
    element("p", { className: "problem", textContent: title ? `${title}: ${message}` : message }),
  );
}

function show(found) {
  const looks = element(
    "div",
    { className: "looks" },
    figure(found.source, found.title, found.truth !== null),
    figure(found.seen, "what the network sees, 28 × 28", true),
  );
  const verdict = element("p", { className: "verdict" }, found.class, " ");
  verdict.append(element("span", { textContent: percent(found.probability) }));
  const parts = [looks, verdict];
  if (found.truth !== null) {
    const right = found.truth === found.class;
    parts.push(element("p", {
      className: right ? "right-answer" : "wrong-answer",
      textContent: right ? "Right: that is its label." : `Wrong: its label is ${found.truth}.`,
    }));
  }
  parts.push(bars(found.probabilities));
  if (found.members) parts.push(...votes(found));
  parts.push(element("p", { className: "quiet", textContent: `Answered in ${Math.round(found.milliseconds)} ms.` }));
  answerPlace.replaceChildren(...parts);
}

function figure(source, caption, pixels) {
  const image = element("img", { src: source, alt: caption });
  if (pixels) image.className = "pixels";
  return element("figure", {}, image, element("figcaption", { textContent: caption }));
}

function bars(probabilities) {
  const sorted = Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
  const rows = sorted.map(([name, share], place) => {
    const bar = element("span");
    bar.style.width = `${100 * share}%`;
    const track = element("span", { className: "track" }, bar);
    track.setAttribute("aria-hidden", "true");
    return element(
      "tr",
      { className: place === 0 ? "first" : "" },
      element("th", { scope: "row", textContent: name }),
      element("td", {}, track),
      element("td", { className: "number", textContent: percent(share) }),
    );
  });
  const caption = element("caption", { className: "hidden", textContent: "Probabilities of the ten classes" });
  return element("table", { className: "bars" }, caption, element("tbody", {}, ...rows));
}

function votes(found) {
  const counts = Object.entries(found.members.votes).map(([name, count]) => `${count} ${name}`);
  const total = found.members.each.length;
  const list = element("ul", { className: "votes" });
  for (const member of found.members.each) {
    list.append(element("li", {
      className: member.class === found.class ? "" : "against",
      textContent: `${member.name}: ${member.class} ${percent(member.probability)}`,
    }));
  }
  return [
    element("p", { textContent: `How the ${total} members voted: ${counts.join(", ")}.` }),
    element("details", { open: total <= 10 }, element("summary", { textContent: "Each member" }), list),
  ];
}

function remember(found) {
  const list = $("#earlier ol");
  const button = element(
    "button",
    { type: "button" },
    element("img", { src: found.source, alt: "", className: found.truth !== null ? "pixels" : "" }),
    element("span", { textContent: found.class }),
  );
  button.addEventListener("click", () => {
    newest += 1;
    show(found);
    answerPlace.scrollIntoView({ block: "nearest" });
  });
  list.prepend(element("li", {}, button));
  while (list.children.length > EARLIER) {
    URL.revokeObjectURL(list.lastChild.querySelector("img").src);
    list.lastChild.remove();
  }
  $("#earlier").hidden = false;
}

// The three tabs, by pointer or arrow keys.
const tabs = [...document.querySelectorAll("[role=tab]")];
function select(tab, focus = false) {
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", String(chosen));
    each.tabIndex = chosen ? 0 : -1;
    document.getElementById(each.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  if (tab.id === "tab-test" && !$("#picks").children.length) loadPicks();
}
tabs.forEach((tab, place) => {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1 };
    if (event.key in steps) select(tabs[(place + steps[event.key] + tabs.length) % tabs.length], true);
  });
});

// Files: chosen, dropped or pasted.
async function takeFiles(files) {
  const images = [...files].filter((file) => file.size);
  if (!images.length) return showProblem("There is no file in what was given. Choose an image file.");
  for (const file of images) await classify(file, { title: file.name || "pasted image" });
}
const fileInput = $("#file");
fileInput.addEventListener("change", async () => {
  await takeFiles(fileInput.files);
  fileInput.value = "";
});
const drop = $("#drop");
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  select(tabs[0]);
  takeFiles(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) {
    event.preventDefault();
    select(tabs[0]);
    takeFiles(files);
  }
});

// Drawing: asked about after each stroke.
const drawing = new Drawing($("#canvas"), $("#cursor"), async (canvas) => {
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  await classify(blob, { title: "your drawing", keep: false });
});
for (const button of document.querySelectorAll("[data-tool]")) {
  button.addEventListener("click", () => {
    drawing.tool = button.dataset.tool;
    for (const each of document.querySelectorAll("[data-tool]")) {
      each.setAttribute("aria-pressed", String(each === button));
    }
  });
}
$("#width").addEventListener("input", (event) => { drawing.width = Number(event.target.value); });
$("#undo").addEventListener("click", () => drawing.undo());
$("#clear").addEventListener("click", () => drawing.clear());

// Test images. Answers may come in another order than the questions: only the last one's is shown.
let picksAsked = 0;
async function loadPicks() {
  picksAsked += 1;
  const asked = picksAsked;
  const label = $("#class").value;
  const response = await fetch(`/test-images?count=24&seed=${pickSeed}${label ? `&label=${label}` : ""}`);
  const images = await response.json();
  if (asked !== picksAsked) return;
  $("#picks").replaceChildren(...images.map((image) => {
    const button = element("button", { type: "button", title: image.class });
    button.append(element("img", { src: image.png, alt: `${image.class}, test image ${image.index}`, className: "pixels" }));
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", async () => {
      for (const each of $("#picks").children) each.setAttribute("aria-pressed", String(each === button));
      const blob = await (await fetch(image.png)).blob();
      await classify(blob, { title: `test image ${image.index}`, truth: image.class });
    });
    return button;
  }));
}
$("#class").addEventListener("change", loadPicks);
$("#others").addEventListener("click", () => {
  pickSeed += 1;
  loadPicks();
});

// What answers.
async function tellModel() {
  const response = await fetch("/api/model");
  if (!response.ok) return;
  const facts = await response.json();
  const accuracy = facts.test_accuracy ? `, ${percent(facts.test_accuracy)} of the test images right` : "";
  const name = facts.name === "pretrained" ? "the model that comes with the package" : facts.name;
  $("#model").textContent = `${name}: ${facts.model}${accuracy}`;
}
tellModel();
