"use strict";
// The page follows the votes of the others, unless a finger is on it; then its own reader is about to say something.
const part = () => document.querySelector("#evening");
let touched = false;
let timer = later();

addEventListener("pointerdown", () => (touched = true));
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => (touched = false));
// The answer to a form shows the rest.
addEventListener("submit", () => clearTimeout(timer));

// Without seconds, there is nothing more to come.
function later() {
  const seconds = Number(part().dataset.seconds);
  return seconds ? setTimeout(renew, 1000 * seconds) : undefined;
}

async function renew() {
  if (!document.hidden && !touched) await look().catch(() => undefined);
  timer = later();
}

async function look() {
  const answer = await fetch(location.href, { redirect: "error" });
  // The evening is over: the page says so.
  if (answer.status === 410) return location.reload();
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [standing, next] = [page.querySelector("#standing"), page.querySelector("#evening")];
  if (touched || !next) return;
  const status = document.querySelector("#standing");
  if (status.textContent !== standing.textContent) status.textContent = standing.textContent;
  if (looks(next) === looks(part())) return;
  const { name, value } = document.activeElement ?? {};
  part().replaceWith(next);
  if (name) part().querySelector(`[name="${name}"][value="${value}"]`)?.focus({ preventScroll: true });
}

// What a reader sees of it; forms have other keys each time.
function looks(shown) {
  return shown.textContent + [...shown.querySelectorAll("img")].map((image) => image.getAttribute("src"));
}
