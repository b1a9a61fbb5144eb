const VERSION="9349e3ccefe20995";
const FILES=[["./assets/de-D_xQ8d9O.js","sha384-CyDwWHRBEA5hPlgdSa0l+w7l/1jFbG/3FJp2t/Xzr69iM+VeI+H7x66jkoqqRRvG"],["./assets/decode-DxUgamC9.js","sha384-rn9bpbm7zXS6hOauwwIzVP8SmZh3is8zwucBDwOiPxaiq/XGfomLqEH8wyneknoV"],["./assets/details-NEkEcnj3.js","sha384-6g/TJT2xSwy4mxsvifJ3729nOyxnhhNq/0w5DF/ai4JIiN8rqTX54hms3bIP58cS"],["./assets/devices-DY9Uyigv.js","sha384-xfS7K/MvxfgoPogCMKETxCO7P2sO2aojS3BRm8TJ7hxE/CPQyZOzBs1IJ8NQsf8v"],["./assets/devices-kWtFniCB.js","sha384-YjOEsAzcX3h6vgCtDOcQmXu/czDB3ywTSrZMnhRovDc4xxxReg5RPiVF/2hjmE+P"],["./assets/dist-7cwwbTpF.js","sha384-ZvJltaiqzozO/MQeyjPjdk+sn3sQIBN536JbWCgyPZ4KSV9FKeLiVr4rO6kN+eaC"],["./assets/dsip_web_bg-CjNr9Yl3.wasm","sha384-7OjXMpFeU/HXA+8XHEhhpDejbMActdfn4wKNRg5YM13tZRRVM5BxLmAqwfyK0bB6"],["./assets/figtree-latin-wght-normal-D_ZTVpCC.woff2","sha384-d6yvnpflv3m5EhqKK5tQtz0HGXMOiCO1F3+L6ha906VSjNeZv+OL3TCteJovhzem"],["./assets/index-B9rY7jnA.css","sha384-od5iu4DJxU8Iw/dblkMAV/aJiZjh1TZ44aIFbd3TmAVMALdmtnX1nfQIT8LzpTZe"],["./assets/index-MQvw1Jkj.js","sha384-P59/JH9Y7zEYGa+8rkpe5l9wTxgQZQJvFtMsofCFviq5isnamYM9u4722Vf6aapu"],["./assets/mirrored-D_Cyvq4r.js","sha384-bn8chflUHF/aPVEAD6lxLFkiWpi5JWeOwaME8G4+vls4Q2cMlXOqdMdF2SY+ctag"],["./assets/restore-dTgtx10Z.js","sha384-CU510AHEuWCyR6LLwsWtsdOR8V3I/3R21XDRjAjpBjsVcODOf0/A8eGSf3hoypdu"],["./assets/scan-BmgR1zxm.js","sha384-ofr6hcqVXp7i1hqH0nnzwYAFHjgOB/EN+PCzg36rkY7/A8HI3vSj36oR6jaT5tVh"],["./assets/settings-6TjZnERv.js","sha384-tFsBpuIkICEwumuAl+m12dsWwOwFLKJwFVbF9/MntIyfQRTdR/EBrY9hneWzmMK5"],["./badge.png","sha384-tIpaBpgf/Mt+ugnIZvfwRSEv3PT8wnW5q/q2vAdmCtRSox6i1hpx4jYTYUtD3GKm"],["./icon-192.png","sha384-EU+T4qhiXxIzu+9TsEwRqdmeWvcNMMBObe0RfWo+wbaAE/hnfNFvOZpgFdq0TIEZ"],["./icon-512.png","sha384-LuEqYpXeQHy13T2O252FHtp5juPqTTy0xhW4+QqQrRdh+WR5bBndi3elNAS5I1PM"],["./icon-maskable-512.png","sha384-OV/Fr1sKxzGQRvWo0lx8b46stKugSWE/yWfW+TmvmGGjIj99HEpEQ+n+/ADetupp"],["./icon.svg","sha384-iyWy2MdHv/8+U6eP8+utJ1OS5bJKkUpygfis/wJCiqy7N6Y+CPosDPzSSIZ8a+Xz"],["./index.html","sha384-IcOEga4jwRs8MOiadHwo/ybywCWjbkx7gGhwUX7ruXBCboweVSXOfyFIu0i9FLsI"],["./manifest.webmanifest","sha384-cpNwsOY7wIk9to3ASldRA1vA60e/uCd7NeyUpj3X9aI6iFMv3kCT8+6kDB7ek09Y"]];
const WORDS={"en":{"title":"Incoming call","body":"Open DSIP to answer"},"de":{"title":"Anruf","body":"Öffne DSIP, um anzunehmen"}};
/// <reference lib="webworker" />
/**
* The service worker: keeps one whole version of the page, each file checked against its hash, and shows what wakes it.
*
* A version is put into a cache of its own while the old one goes on serving; it takes over when no page of the old one is
* left, or when a person pressed for it. So files of two versions never meet in one page.
*/

const CACHE = `dsip-${VERSION}`;
self.addEventListener("install", (event) => {
	event.waitUntil(caches.open(CACHE).then((cache) => Promise.all(FILES.map(async ([path, integrity]) => {
		const response = await fetch(new Request(path, {
			integrity,
			cache: "no-cache"
		}));
		if (!response.ok) throw new Error(`${path}: ${response.status}`);
		await cache.put(path, response);
	}))));
});
self.addEventListener("activate", (event) => {
	event.waitUntil((async () => {
		for (const name of await caches.keys()) {
			if (name.startsWith("dsip-") && name !== CACHE) await caches.delete(name);
		}
		await self.clients.claim();
	})());
});
self.addEventListener("message", (event) => {
	if (event.data?.say === "take-over") void self.skipWaiting();
});
self.addEventListener("fetch", (event) => {
	const { request } = event;
	const url = new URL(request.url);
	const base = new URL(self.registration.scope);
	if (request.method !== "GET" || url.origin !== base.origin || !url.pathname.startsWith(base.pathname)) return;
	const path = `./${url.pathname.slice(base.pathname.length)}`;
	const wanted = request.mode === "navigate" && (path === "./" || path === "./index.html") ? "./index.html" : path;
	if (!FILES.some(([known]) => known === wanted)) return;
	event.respondWith((async () => await (await caches.open(CACHE)).match(wanted) ?? fetch(request))());
});
self.addEventListener("push", (event) => {
	event.waitUntil((async () => {
		const pages = await self.clients.matchAll({
			type: "window",
			includeUncontrolled: true
		});
		// An open page has its own link and rings by itself, but browsers want every push to be seen.
		if (pages.some((page) => page.visibilityState === "visible")) return;
		const language = self.navigator.language.split("-")[0] ?? "en";
		const words = WORDS[language] ?? WORDS.en;
		// The push carries nothing, on purpose: who calls is learned from the signed invite alone.
		await self.registration.showNotification(words?.title ?? "DSIP", {
			body: words?.body ?? "",
			tag: "wake",
			icon: "./icon-192.png",
			badge: "./badge.png",
			requireInteraction: true
		});
	})());
});
self.addEventListener("notificationclick", (event) => {
	event.notification.close();
	const call = event.notification.data?.call;
	event.waitUntil((async () => {
		const pages = await self.clients.matchAll({
			type: "window",
			includeUncontrolled: true
		});
		const page = pages.find((each) => each.focused) ?? pages[0];
		if (event.action === "decline" && page && typeof call === "string") {
			page.postMessage({
				say: "decline",
				call
			});
			return;
		}
		// Opening is not answering: that takes a press on the page, which shows who it is.
		if (page) {
			await page.focus();
			page.postMessage({ say: "show" });
		} else {
			await self.clients.openWindow(self.registration.scope);
		}
	})());
});
