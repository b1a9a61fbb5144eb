const VERSION="14b53b53e47cb3a2";
const FILES=[["./assets/de-D4njHCaB.js","sha384-xRw77KTzIKan6qGxPxYPUmE+AGHEexbg5erUi4SLwgi/Qe/+3ZbuWBz4o92gvJMy"],["./assets/decode-DxUgamC9.js","sha384-rn9bpbm7zXS6hOauwwIzVP8SmZh3is8zwucBDwOiPxaiq/XGfomLqEH8wyneknoV"],["./assets/details-LYRvHUmR.js","sha384-hBS70QpF50mxct2a0WF0QDWF8t9ZBDYkRgj/GctvqrzO7IEjKcd8b9aPv+tCGtvd"],["./assets/devices-ChvuLiIR.js","sha384-zF6VfWElTFlHeMsYUff0pBcTrq8zWwWswM/m5rnSYKVnb5g6U4EhNnQ0Kim8Q+Ji"],["./assets/devices-D_hUOS3x.js","sha384-rHRH12OadjJSg7G5wOhGDmdLCQyOfmY4ncYYeGPm+uzpZfDf5WrB7Hes3KlpgWHt"],["./assets/dist-BY0u2JCC.js","sha384-fBIfV6mvykzg6I3i0hHZsq1sWsZSUpszYJvNI26LPEGVgMrK+K8iAjEx6be6/823"],["./assets/dsip_web_bg-VD9eQ27S.wasm","sha384-mcp9goTeFqpNwaQOKjoycrBtZovOu6i4QA9YXLY/3pR0LFnv5YxFyRutOTR8TBy2"],["./assets/figtree-latin-wght-normal-D_ZTVpCC.woff2","sha384-d6yvnpflv3m5EhqKK5tQtz0HGXMOiCO1F3+L6ha906VSjNeZv+OL3TCteJovhzem"],["./assets/index-Bq9LtWcc.css","sha384-F/wYPytIrZmi26ZRA/mVFe9X6v4P8SpX2YzRlhxsCx5RCux431SPaUPQ6eM7IbP/"],["./assets/index-MaX6IZ5d.js","sha384-47sIRWfLMQ5uDY5IDlbx8uEN4iIGt/NsatAFui5842RFo4fJR02dUdzjzTtf/eKx"],["./assets/mirrored-7QqfNUxO.js","sha384-TIyTYJOakzz+5KjZXAKglLar2l7xtJV3klxLiW2TgOhtWiwFO4gJVtbGV/uXjBr7"],["./assets/restore-9Pt2WfQa.js","sha384-Ew07LtzqD96Ya2qArJaSNSIDFQDpbsui9pM5suktlocZy2RGspFEzf8FB9e/ZnrH"],["./assets/scan-DjmA9mEn.js","sha384-KH8Gm1xzaML+QW23CpdZzHt0o3tdby6I1IG892fuwQS4+NTUME81ZQaornwfxFpB"],["./assets/settings-DSTMNZHE.js","sha384-IgwzEkN2JHKn8sqRp9AK37eTj+dGsK11SrFcWSTYEixr8n62zzhup/bMKCCXkwIE"],["./badge.png","sha384-tIpaBpgf/Mt+ugnIZvfwRSEv3PT8wnW5q/q2vAdmCtRSox6i1hpx4jYTYUtD3GKm"],["./icon-192.png","sha384-EU+T4qhiXxIzu+9TsEwRqdmeWvcNMMBObe0RfWo+wbaAE/hnfNFvOZpgFdq0TIEZ"],["./icon-512.png","sha384-LuEqYpXeQHy13T2O252FHtp5juPqTTy0xhW4+QqQrRdh+WR5bBndi3elNAS5I1PM"],["./icon-maskable-512.png","sha384-OV/Fr1sKxzGQRvWo0lx8b46stKugSWE/yWfW+TmvmGGjIj99HEpEQ+n+/ADetupp"],["./icon.svg","sha384-iyWy2MdHv/8+U6eP8+utJ1OS5bJKkUpygfis/wJCiqy7N6Y+CPosDPzSSIZ8a+Xz"],["./index.html","sha384-12IClichStJqwv7DvWuERUuVBZnTI6K0CV0gSrLZbiMZLJlx3dzrOr1wC1sRRkkD"],["./manifest.webmanifest","sha384-cpNwsOY7wIk9to3ASldRA1vA60e/uCd7NeyUpj3X9aI6iFMv3kCT8+6kDB7ek09Y"]];
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
