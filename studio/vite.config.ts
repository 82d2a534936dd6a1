// Builds the page into the package, under names that do not change; `make page` runs it.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

/** Leaves a digest of the sources beside the page, so that a test can tell when it is out of date. */
function digest(): Plugin {
  return {
    name: "digest",
    generateBundle() {
      const hash = createHash("sha256");
      const files = ["index.html", "package-lock.json", "vite.config.ts", ...list("src"), ...list("public")];
      for (const file of files.sort()) hash.update(file + "\0").update(readFileSync(file));
      this.emitFile({ type: "asset", fileName: "sources.sha256", source: hash.digest("hex") + "\n" });
    },
  };
}

const list = (folder: string) => readdirSync(folder).map((name) => `${folder}/${name}`);

export default defineConfig({
  plugins: [digest()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../brushloop/serve/page",
    emptyOutDir: true,
    modulePreload: false,
    assetsInlineLimit: 0,
    target: "es2022",
    rollupOptions: {
      output: { entryFileNames: "studio.js", assetFileNames: "studio[extname]", codeSplitting: false },
    },
  },
  server: { proxy: { "/v1": "http://127.0.0.1:8765" } },
});
