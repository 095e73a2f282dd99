// Bundles the viewer into dist/ (or, with --tests, its tests into node_modules/.tests/). Run by the appliance's build and by hand.
// Every file the page loads lies in dist/: the Content-Security-Policy allows nothing from elsewhere.
import { build } from "esbuild";
import { copyFile, mkdir, readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { join } from "node:path";

const here = fileURLToPath(new URL(".", import.meta.url));
const forTests = process.argv.includes("--tests");

if (forTests) {
  const names = (await readdir(join(here, "tests"))).filter((name) => name.endsWith(".test.ts"));
  await build({
    absWorkingDir: here,
    entryPoints: names.map((name) => `tests/${name}`),
    outdir: "node_modules/.tests",
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    sourcemap: "inline",
    // dicom-parser is CommonJS and asks for node's zlib, which an ES module reaches only through a require of its own.
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
    logLevel: "warning",
  });
} else {
  await mkdir(join(here, "dist"), { recursive: true });
  await build({
    absWorkingDir: here,
    entryPoints: { viewer: "src/main.ts" },
    outdir: "dist",
    bundle: true,
    minify: true,
    platform: "browser",
    format: "esm",
    target: ["chrome110", "firefox115", "safari16"],
    legalComments: "inline",
    logLevel: "warning",
  });
  await build({ absWorkingDir: here, entryPoints: ["viewer.css"], outdir: "dist", bundle: true, minify: true, logLevel: "warning" });
  for (const name of ["index.html", "favicon.svg"]) await copyFile(join(here, name), join(here, "dist", name));
}
