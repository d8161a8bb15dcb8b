"use strict";
// While something runs, the page shows how far it is, and keeps the reader's place and focus.
const { seconds, address } = document.currentScript.dataset;

function later() {
  setTimeout(() => (document.hidden ? later() : renew().catch(later)), 1000 * seconds);
}

async function renew() {
  const answer = await fetch(address, { redirect: "error" });
  if (!answer.ok) throw new Error(answer.statusText);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const label = document.activeElement?.getAttribute("aria-label");
  document.querySelector("main").replaceChildren(...page.querySelector("main").childNodes);
  const focused = [...document.querySelectorAll("[aria-label]")].find((one) => one.getAttribute("aria-label") === label);
  if (label) focused?.focus({ preventScroll: true });
  if (page.querySelector("script[data-seconds]")) later();
}

later();
