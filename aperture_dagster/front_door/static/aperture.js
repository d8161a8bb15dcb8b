"use strict";
// Browsers have service workers on encrypted pages and on this machine alone.
const { worker, scope } = document.currentScript.dataset;
navigator.serviceWorker?.register(worker, { scope }).catch(() => undefined);
