// Pictures of digits, from a file or the camera: shown with a box around each digit that was found.

import { byId, createElement } from "./answer.js";

const LONGEST_SIDE = 1600; // pixels that are sent; photographs of phones have more than are needed
const QUALITY = 0.92;
const MOST_BYTES = 4 << 20; // that the server takes

/** Fires "picture" with a Blob to recognise, and "failure" with a text. */
export class PictureInput extends EventTarget {
  #preview = byId("preview");
  #video = byId("video");
  #image = null; // what is shown
  #start = null; // the latest start of the camera, until something else is shown

  constructor() {
    super();
    byId("choose").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", () => {
      const [file] = byId("file").files;
      byId("file").value = ""; // the same file may be chosen again
      if (file) this.#open(file);
    });
    // Browsers offer the camera to pages of https and localhost only.
    byId("camera").hidden = !navigator.mediaDevices?.getUserMedia;
    byId("camera").addEventListener("click", () => this.#startCamera());
    byId("take").addEventListener("click", () => this.#takePicture());
  }

  /** Switch the camera off and hide the picture. */
  close() {
    this.#video.srcObject?.getTracks().forEach((track) => track.stop());
    this.#video.srcObject = null;
    this.#image = this.#start = null;
    this.#show({});
  }

  /** Draw boxes [left, top, right, bottom] onto the picture, one of them marked. */
  showBoxes(boxes, marked) {
    if (!this.#image) return;
    const context = this.#preview.getContext("2d");
    context.drawImage(this.#image, 0, 0);
    const width = Math.max(this.#preview.width, this.#preview.height) / 120;
    boxes.forEach(([left, top, right, bottom], k) => {
      context.strokeStyle = k === marked ? "#1f5aa8" : "#a3312a";
      context.lineWidth = k === marked ? 2 * width : width;
      context.strokeRect(left - width, top - width, right - left + 2 * width, bottom - top + 2 * width);
    });
  }

  #show({ video = false, picture = false }) {
    byId("drawing").hidden = video || picture;
    byId("picture").hidden = !(video || picture);
    this.#video.hidden = byId("take").hidden = !video;
    this.#preview.hidden = !picture;
  }

  async #open(file) {
    try {
      // A file knows how the camera was held.
      const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
      await this.#use(bitmap, bitmap.width, bitmap.height);
    } catch {
      this.close();
      if (file.size > MOST_BYTES) {
        this.#fire("failure", { text: "This browser cannot read the picture, and it is too large to be sent. Choose a JPEG or a PNG." });
        return;
      }
      // The server reads some formats that browsers do not: it decides, by the bytes. Browsers know no type of some.
      this.#fire("picture", { blob: new Blob([file], { type: "image/png" }) });
    }
  }

  async #startCamera() {
    this.close();
    const mine = this.#start = {};
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      // The visitor may do something else while the browser asks for leave: the camera must not stay on unseen.
      if (mine !== this.#start) {
        stream.getTracks().forEach((track) => track.stop());
        return;
      }
      this.#video.srcObject = stream;
      this.#show({ video: true });
      await this.#video.play();
    } catch {
      if (mine !== this.#start) return;
      this.close();
      this.#fire("failure", { text: "The camera cannot be used. Choose a picture instead." });
    }
  }

  async #takePicture() {
    const { videoWidth, videoHeight } = this.#video;
    if (!videoWidth) return;
    const frame = await createImageBitmap(this.#video);
    await this.#use(frame, videoWidth, videoHeight);
  }

  /** Show a picture, not larger than needed, and have it recognised. */
  async #use(source, width, height) {
    this.close();
    const scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
    const canvas = createElement("canvas");
    canvas.width = this.#preview.width = Math.max(1, Math.round(width * scale));
    canvas.height = this.#preview.height = Math.max(1, Math.round(height * scale));
    canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
    this.#image = canvas;
    this.#show({ picture: true });
    this.showBoxes([], -1);
    const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/jpeg", QUALITY); });
    this.#fire("picture", { blob });
  }

  #fire(kind, detail) {
    this.dispatchEvent(Object.assign(new Event(kind), detail));
  }
}
