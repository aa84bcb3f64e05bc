// A sheet to draw on, by pointer or keyboard: dark on white, with pen, eraser and fill.
const INK = "#30343a";
const PAPER = "#ffffff";
const STEP = 6;
const UNDONE = 30;
const PAUSE = 120;

export class Drawing {
  tool = "pen";
  width = 14;
  #canvas; #cursor; #context; #changed;
  #before = [];
  #last = null;
  #keys = { x: 140, y: 140, down: false };
  #timer = 0;

  // `changed` is called with the canvas after a stroke.
  constructor(canvas, cursor, changed) {
    this.#canvas = canvas;
    this.#cursor = cursor;
    this.#changed = changed;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
    this.#blank();
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => this.#end());
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.#showCursor(canvas.matches(":focus-visible")));
    canvas.addEventListener("blur", () => {
      this.#keys.down = false;
      this.#showCursor(false);
    });
  }

  undo() {
    const before = this.#before.pop();
    if (before) {
      this.#context.putImageData(before, 0, 0);
      this.#tell();
    }
  }

  clear() {
    this.#save();
    this.#blank();
  }

  #blank() {
    this.#context.fillStyle = PAPER;
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  #save() {
    this.#before.push(this.#context.getImageData(0, 0, this.#canvas.width, this.#canvas.height));
    if (this.#before.length > UNDONE) this.#before.shift();
  }

  #tell() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#changed(this.#canvas), PAUSE);
  }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    const scale = this.#canvas.width / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
  }

  #begin(event) {
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    this.#save();
    const at = this.#point(event);
    if (this.tool === "fill") {
      this.#fill(at);
      this.#tell();
      return;
    }
    this.#last = at;
    this.#stroke(at, at);
  }

  #move(event) {
    if (!this.#last) return;
    const at = this.#point(event);
    this.#stroke(this.#last, at);
    this.#last = at;
  }

  #end() {
    if (!this.#last) return;
    this.#last = null;
    this.#tell();
  }

  #stroke(from, to) {
    const context = this.#context;
    context.strokeStyle = this.tool === "eraser" ? PAPER : INK;
    context.lineWidth = this.width;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.stroke();
  }

  // Fills what is of one colour around a point; edges, which are blended, are filled with it.
  #fill(at) {
    const { width, height } = this.#canvas;
    const image = this.#context.getImageData(0, 0, width, height);
    const shade = (place) => image.data[4 * place];
    const start = Math.floor(at.y) * width + Math.floor(at.x);
    const ink = parseInt(INK.slice(1, 3), 16);
    const colour = shade(start);
    if (Math.abs(colour - ink) < 8) return;
    const seen = new Uint8Array(width * height);
    const waiting = [start];
    seen[start] = 1;
    while (waiting.length) {
      const place = waiting.pop();
      const same = Math.abs(shade(place) - colour) < 8;
      for (let channel = 0; channel < 3; channel += 1) {
        image.data[4 * place + channel] = parseInt(INK.slice(1 + 2 * channel, 3 + 2 * channel), 16);
      }
      if (!same) continue;
      const column = place % width;
      const beside = [place - width, place + width];
      if (column > 0) beside.push(place - 1);
      if (column < width - 1) beside.push(place + 1);
      for (const next of beside) {
        if (next >= 0 && next < width * height && !seen[next] && Math.abs(shade(next) - ink) >= 8) {
          seen[next] = 1;
          waiting.push(next);
        }
      }
    }
    this.#context.putImageData(image, 0, 0);
  }

  #key(event) {
    const steps = { ArrowUp: [0, -STEP], ArrowDown: [0, STEP], ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0] };
    const keys = this.#keys;
    if (event.key in steps) {
      const [right, down] = steps[event.key];
      const inside = (value) => Math.min(this.#canvas.width - 1, Math.max(0, value));
      const to = { x: inside(keys.x + right), y: inside(keys.y + down) };
      if (keys.down) {
        this.#stroke(keys, to);
        this.#tell();
      }
      Object.assign(keys, to);
    } else if (event.key === " ") {
      keys.down = !keys.down;
      if (keys.down) {
        this.#save();
        this.#stroke(keys, keys);
        this.#tell();
      }
    } else if (event.key.toLowerCase() === "f") {
      this.#save();
      this.#fill(keys);
      this.#tell();
    } else {
      return;
    }
    event.preventDefault();
    this.#showCursor(true);
  }

  #showCursor(shown) {
    this.#cursor.hidden = !shown;
    this.#cursor.classList.toggle("down", this.#keys.down);
    this.#cursor.style.left = `${(100 * this.#keys.x) / this.#canvas.width}%`;
    this.#cursor.style.top = `${(100 * this.#keys.y) / this.#canvas.height}%`;
  }
}
