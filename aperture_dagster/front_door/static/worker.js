"use strict";
// Shows a page of ours while the server cannot be reached. Nothing else is kept: lists are their member's alone.
const KEPT = "aperture-offline";
const [offline, ...others] = new URL(self.location).searchParams.get("keeps").split(" ");

self.addEventListener("install", (event) => {
  event.waitUntil(keep().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { mode, url } = event.request;
  if (mode === "navigate") {
    event.respondWith(fetch(event.request).catch(() => caches.match(offline)));
  } else if (others.some((address) => new URL(address, self.location).href === url)) {
    event.respondWith(fetch(event.request).catch(() => caches.match(event.request)));
  }
});

async function keep() {
  await caches.delete(KEPT);
  await (await caches.open(KEPT)).addAll([offline, ...others]);
}
