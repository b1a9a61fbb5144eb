const VERSION="40ae57ac615089ea";
const FILES=[["./assets/de-D4njHCaB.js","sha384-xRw77KTzIKan6qGxPxYPUmE+AGHEexbg5erUi4SLwgi/Qe/+3ZbuWBz4o92gvJMy"],["./assets/decode-DxUgamC9.js","sha384-rn9bpbm7zXS6hOauwwIzVP8SmZh3is8zwucBDwOiPxaiq/XGfomLqEH8wyneknoV"],["./assets/details-CrGPn9Vc.js","sha384-KVLZKk2Ja2nF8VMAPFHnQvaXd8sxXRjX1jG9cWjMvb6rUODiuekXqFUX2WRstWIN"],["./assets/devices-BJAF044h.js","sha384-AWYRVwIUdcQ31io99mLGemLOLfZXrcJqcewd7LxsUMKYRilFtEVrot8aU3oVhukX"],["./assets/devices-CqqeXhMT.js","sha384-cUvpNqkM+2nLMBWiyFwlxR4XjhX3gv6pxsl3r5g5t24Gw17nZ7HXmzhWadVKGII+"],["./assets/dist-BY0u2JCC.js","sha384-fBIfV6mvykzg6I3i0hHZsq1sWsZSUpszYJvNI26LPEGVgMrK+K8iAjEx6be6/823"],["./assets/dsip_web_bg-VD9eQ27S.wasm","sha384-mcp9goTeFqpNwaQOKjoycrBtZovOu6i4QA9YXLY/3pR0LFnv5YxFyRutOTR8TBy2"],["./assets/figtree-latin-wght-normal-D_ZTVpCC.woff2","sha384-d6yvnpflv3m5EhqKK5tQtz0HGXMOiCO1F3+L6ha906VSjNeZv+OL3TCteJovhzem"],["./assets/index-B_HI6lie.js","sha384-v6PG4+H3N0aiAUgIAxbgyxbwALiIjxJc5a5ATE3qhHSVCM9DBpzXgH/OZiP2FhqM"],["./assets/index-dyAyTlwJ.css","sha384-ldAyrOmTxQIaidG5TQ0oLvprkGsYagrm2LsC3q+P9H2/Qs0mje22hD+4XUesSN2v"],["./assets/mirrored-B2ii3v2x.js","sha384-Hsdh3ip7/FohMP2wosN8f9eGym2d0FwZhCoit2iI+QsE4mB+q9/kJ+aA4TrvpaGM"],["./assets/restore-LoebxHyH.js","sha384-84hjICVWl5NhvwJB1dqk2/ubn2lBlc/Av0E2ENwLZXywyPxDIG8Knk1QCsIS6I3T"],["./assets/scan-CU-N7s2e.js","sha384-J0oG8rCVVZdgNNkOh5JxfZklCLzfdp04lDXwo/W0u64os0qi0LWNsmBIermPjtyr"],["./assets/settings-DReab05x.js","sha384-FMkMCZabsCLaOAmaRZzWmgUNvWuZxTDC1pl/vNApLBPKbiZwnEn1QCFsOu/RS94G"],["./badge.png","sha384-tIpaBpgf/Mt+ugnIZvfwRSEv3PT8wnW5q/q2vAdmCtRSox6i1hpx4jYTYUtD3GKm"],["./icon-192.png","sha384-EU+T4qhiXxIzu+9TsEwRqdmeWvcNMMBObe0RfWo+wbaAE/hnfNFvOZpgFdq0TIEZ"],["./icon-512.png","sha384-LuEqYpXeQHy13T2O252FHtp5juPqTTy0xhW4+QqQrRdh+WR5bBndi3elNAS5I1PM"],["./icon-maskable-512.png","sha384-OV/Fr1sKxzGQRvWo0lx8b46stKugSWE/yWfW+TmvmGGjIj99HEpEQ+n+/ADetupp"],["./icon.svg","sha384-iyWy2MdHv/8+U6eP8+utJ1OS5bJKkUpygfis/wJCiqy7N6Y+CPosDPzSSIZ8a+Xz"],["./index.html","sha384-KuvzWszAyww6k8pd8dPjxiigjJuuxPPE4zmeA4D+mAAzDZ63z4gC8cofa6vHPcpa"],["./manifest.webmanifest","sha384-cpNwsOY7wIk9to3ASldRA1vA60e/uCd7NeyUpj3X9aI6iFMv3kCT8+6kDB7ek09Y"]];
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
