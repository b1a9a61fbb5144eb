// The package as others get it: packed, installed in an empty project, used by what its README says and nothing else.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Town } from "./town.js";

const LIMIT = { timeout: 180_000 };
const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const TYPES = { html: "text/html", js: "text/javascript", wasm: "application/wasm" };
/** @type {Town} */
let town;
before(async () => (town = await Town.build()), LIMIT);
after(() => town?.end());

/** The one block of that language in the README. */
function block(readme, language) {
  const [block, ...more] = [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms"))].map(([, text]) => text);
  assert.ok(block !== undefined && more.length === 0, `one block of ${language}`);
  return block;
}

test("an empty project, by the README alone: it type-checks, and two pages call each other", LIMIT, async () => {
  const project = join(town.dir, "project");
  mkdirSync(project);
  const [{ filename }] = JSON.parse(execFileSync("npm", ["pack", "--json", "--pack-destination", project], { cwd: PACKAGE, stdio: ["ignore", "pipe", "ignore"] }));
  writeFileSync(join(project, "package.json"), "{}");
  execFileSync("npm", ["install", "--offline", "--no-audit", "--no-fund", `./${filename}`], { cwd: project, stdio: "ignore" });
  const readme = readFileSync(join(project, "node_modules/@dsip/client/README.md"), "utf8");
  const example = block(readme, "ts");
  assert.ok(example.includes("wss://node.example/dsip"));
  writeFileSync(join(project, "index.html"), block(readme, "html"));
  writeFileSync(join(project, "main.ts"), example.replace("wss://node.example/dsip", town.address));
  const command = /`npx (tsc main\.ts [^`]*)`/.exec(readme)[1].split(" ");
  execFileSync(fileURLToPath(new URL("../../node_modules/.bin/tsc", import.meta.url)), [...command.slice(1), "--ignoreConfig"], { cwd: project, stdio: "inherit" });

  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const path = join(project, pathname === "/" ? "index.html" : pathname);
    try {
      response.setHeader("content-type", TYPES[path.split(".").pop()] ?? "text/plain").end(readFileSync(path));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const open = async () => {
    const context = await town.browser.newContext({ ignoreHTTPSErrors: true });
    await context.grantPermissions(["microphone", "camera"]);
    const page = await context.newPage();
    page.on("pageerror", (error) => console.error(error));
    await page.goto(`http://localhost:${server.address().port}/`);
    await page.waitForFunction(() => document.querySelector("#mine").textContent !== "");
    return page;
  };
  const [alice, bob] = [await open(), await open()];
  await alice.fill("#whom", await bob.textContent("#mine"));
  await alice.click("#call");
  const pictures = (page) => page.waitForFunction(() => document.querySelector("#them").getVideoPlaybackQuality().totalVideoFrames > 5);
  await Promise.all([pictures(alice), pictures(bob)]);
  await alice.waitForFunction(() => document.querySelector("#news").textContent.startsWith("talking"));
  assert.match(await bob.textContent("#news"), /^Alice \(/);
  await Promise.all([alice, bob].map((page) => page.context().close()));
  server.close();
});
