// Reads the node library of the real ComfyUI frontend as somebody who looks for a subgraph.
//
//   node blueprints.mjs --url URL --names NAME[|NAME...] [--chromium PATH] [--seconds N]
//
// Prints one JSON object: { listed, added, complaints }.
//   listed      those names that the library shows when they are searched for
//   added       of the first of them, put into the graph: { types of the nodes inside, widgets }
//   complaints  what the page says about subgraphs that it cannot load

import { parseArgs } from "node:util";
import { openFrontend } from "./frontend.mjs";

const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    names: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
    seconds: { type: "string", default: "240" },
  },
});
const deadline = Date.now() + 1000 * Number(options.seconds);
const { page, close } = await openFrontend(options.url, options.chromium, deadline);

try {
  await page.waitForTimeout(3000); // the frontend loads blueprints after everything else
  await page.keyboard.press("Escape");
  await page.evaluate(() => window.app.graph.clear());
  await page.evaluate(() =>
    window.app.extensionManager.command.execute("Workspace.ToggleSidebarTab.node-library"),
  );
  const search = page.locator('[class*="side-bar-panel"] input').first();
  await search.waitFor({ timeout: 20000 });
  const listed = [];
  let added;
  for (const name of options.names.split("|")) {
    await search.fill(name);
    const entry = page.locator('[class*="side-bar-panel"]').getByText(name, { exact: true });
    const found = await entry
      .first()
      .waitFor({ timeout: 8000 })
      .then(() => true, () => false);
    if (!found) continue;
    listed.push(name);
    if (added) continue;
    await entry.first().click();
    await page.mouse.click(800, 400); // where the new node is put down
    await page.waitForTimeout(1500);
    added = await page.evaluate(() =>
      window.app.graph.nodes.map((node) => ({
        inside: (node.subgraph?.nodes ?? []).map(({ type }) => type),
        widgets: (node.widgets ?? []).map(({ label, name }) => label ?? name),
      })),
    );
  }
  const text = await page.evaluate(() => document.body.innerText);
  const complaints = text.split("\n").filter((line) => /fail.*(blueprint|subgraph)/i.test(line));
  process.stdout.write(JSON.stringify({ listed, added, complaints }));
} finally {
  await close();
}
