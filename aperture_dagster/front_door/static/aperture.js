"use strict";
// Browsers have service workers on encrypted pages and on this machine alone.
const { worker, scope } = document.currentScript.dataset;
navigator.serviceWorker?.register(worker, { scope }).catch(() => undefined);
// The tab of this page is where it can be seen, also on a narrow screen.
document.querySelector("header nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
