// Both work without this: it filters the settings while one types, and goes on once the program runs again.
"use strict";

const field = document.getElementById("q");
const restarting = document.getElementById("restarting");

if (field) {
  const parts = [...document.querySelectorAll("details.settings")];
  const wasOpen = new Map(parts.map((part) => [part, part.open]));
  const texts = new Map();
  for (const one of document.querySelectorAll(".setting")) texts.set(one, one.textContent.toLowerCase());
  const count = document.getElementById("count");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const part of parts) {
      let any = false;
      for (const one of part.querySelectorAll(".setting")) {
        const matches = words.every((word) => texts.get(one).includes(word));
        one.hidden = !matches;
        any = any || matches;
        shown += matches;
      }
      part.hidden = !any;
      part.open = words.length ? any : wasOpen.get(part);
    }
    count.textContent = words.length ? `${shown} / ${texts.size}` : "";
  });
}

if (restarting) {
  // The old server answers for a moment, until it ends.
  let wasAway = false;
  let looks = 0;
  const look = async () => {
    looks += 1;
    try {
      const answer = await fetch(restarting.dataset.health, { cache: "no-store" });
      if (answer.ok && (wasAway || looks > 30)) {
        location.assign(restarting.dataset.target);
        return;
      }
      wasAway = wasAway || !answer.ok;
    } catch {
      wasAway = true;
    }
    setTimeout(look, 1000);
  };
  look();
}
