// A page of the real ComfyUI frontend with a graph in it; requests to other machines are refused.

import { chromium } from "playwright-core";

const SCREEN = { width: 1600, height: 900 };
const NO_WEBGL = ["--disable-webgl", "--disable-webgl2", "--disable-3d-apis"];

/**
 * Open the frontend at a url; `close` ends the browser.
 *
 * @param {{ viewport, touch, webgl, escape }} screen touch: fingers instead of a mouse; escape: close
 *   the dialog of a first visit
 * @returns {{ page, errors, blocked, close }} errors: console errors and uncaught exceptions of the
 *   page; blocked: requests to other machines, of which a pack must cause none
 */
export async function openFrontend(
  url,
  executablePath,
  deadline,
  { viewport = SCREEN, touch = false, webgl = true, escape = true } = {},
) {
  const browser = await chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      ...(webgl ? [] : NO_WEBGL),
    ],
  });
  const page = await browser.newPage({ viewport, hasTouch: touch });
  const errors = [];
  const blocked = [];
  await page.route("**/*", (route) => {
    const host = new URL(route.request().url()).hostname;
    if (["127.0.0.1", "localhost", ""].includes(host)) return route.continue();
    blocked.push(route.request().url());
    return route.abort();
  });
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(`${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.addInitScript(() => {
    localStorage.setItem("Comfy.Workflow.Persist", "false");
  });
  await page.goto(url, { waitUntil: "domcontentloaded" });
  await page.waitForFunction(
    () => window.app && window.app.graph && window.app.extensionManager,
    null,
    { timeout: Math.max(1, deadline - Date.now()) },
  );
  // The server keeps whether an earlier page left it open.
  await page.evaluate(() =>
    window.app.extensionManager.setting.set("Comfy.RightSidePanel.IsOpen", false),
  );
  if (escape) await page.keyboard.press("Escape"); // a first visit may show a dialog
  return { page, errors, blocked, close: () => browser.close() };
}

/**
 * Load a graph in the frontend's own form. On a first visit the frontend may still load a graph of
 * its own over ours: ours is loaded until it stays.
 */
export async function loadGraph(page, workflow, deadline) {
  const types = workflow.nodes.map((node) => node.type).sort().join();
  const loaded = () =>
    page.evaluate(() => window.app.graph.nodes.map((node) => node.type).sort().join());
  for (let stayed = 0; stayed < 4; ) {
    if (Date.now() > deadline) throw new Error(`the graph did not load: ${await loaded()}`);
    if ((await loaded()) !== types) {
      await page.evaluate((graph) => window.app.loadGraphData(graph), workflow);
      stayed = 0;
    } else stayed += 1;
    await page.waitForTimeout(250);
  }
}

/**
 * Wait until a loaded graph is as it stays: sizes of nodes settle, which is a step of undo of its own,
 * and the dialog of a first visit may come late.
 */
export async function settled(page) {
  await page.waitForTimeout(1500);
  await page.keyboard.press("Escape");
  await page.locator("[role=dialog]").waitFor({ state: "hidden" });
  await page.waitForTimeout(1500);
}
