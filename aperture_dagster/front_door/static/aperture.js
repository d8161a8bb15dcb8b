"use strict";
// Browsers have service workers on encrypted pages and on this machine alone.
const { worker, scope } = document.currentScript.dataset;
navigator.serviceWorker?.register(worker, { scope }).catch(() => undefined);
// A picture that does not come leaves its title in its place.
const gone = (picture) => picture instanceof HTMLImageElement && (picture.hidden = true);
addEventListener("error", ({ target }) => gone(target), true);
for (const picture of document.images) if (picture.complete && !picture.naturalWidth) gone(picture);
// The tab of this page is where it can be seen, also on a narrow screen.
document.querySelector("header nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
