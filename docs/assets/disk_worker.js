// A Worker for pages that are opened from a disk, where browsers refuse real ones: the script runs in
// a hidden frame, and messages go between the two windows. The theme knows it by its name.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.waiting = [];
      window.addEventListener("message", (event) => {
        if (event.source !== this.frame.contentWindow) return;
        const copy = new MessageEvent("message", { data: event.data });
        if (this.onmessage) this.onmessage(copy);
        this.dispatchEvent(copy);
      });
      this.frame.addEventListener("load", () => {
        const sent = this.waiting;
        this.waiting = null;
        for (const message of sent) this.postMessage(message);
      });
      this.frame.srcdoc =
        "<script>" +
        "self.postMessage = (data) => parent.postMessage(data, '*');" +
        "self.importScripts = (...urls) => urls.reduce((last, url) => last.then(() => " +
        "new Promise((done) => { const s = document.createElement('script'); s.src = url; " +
        "s.onload = done; document.body.appendChild(s); })), Promise.resolve());" +
        "<\/script><body><script src='" + new URL(url, location.href) + "'><\/script>";
      document.body.appendChild(this.frame);
    }
    postMessage(data) {
      if (this.waiting) this.waiting.push(data);
      else this.frame.contentWindow.dispatchEvent(
        new MessageEvent("message", { data, source: window }));
    }
    terminate() {
      this.frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;
}
