// The camera: frame after frame is classified, the next one when the last has been answered.

/** So much of the last rate counts on in the next, so that it can be read. */
const SMOOTH = 0.8;
/** A name is read aloud when it has been the first for so long, in milliseconds. */
const SETTLED = 1200;

const WHY = {
  NotAllowedError: "the camera was refused; allow it for this page in the settings of the browser, then try again",
  SecurityError: "this browser allows no camera here",
  NotFoundError: "there is no camera on this device",
  OverconstrainedError: "there is no camera on this device that can be used",
  NotReadableError: "the camera cannot be read; another program may be using it",
  AbortError: "the camera cannot be started; another program may be using it",
};

/** Why there is no camera, for people. */
export function whyNot(error) {
  return WHY[error?.name] ?? `the camera cannot be used: ${error?.message ?? error}`;
}

/** The next frame that the camera gives; where the browser does not say, the next that is drawn. */
function nextFrame(video) {
  return new Promise((resolve) => {
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(resolve);
    else requestAnimationFrame(resolve);
    // A camera that gives no frames must not hold the loop for ever.
    setTimeout(resolve, 1000);
  });
}

export class Camera {
  #video;
  #page;
  #stream = null;
  /** Which start is meant: what belongs to an earlier one ends. */
  #turn = 0;

  /**
   * `page` is what the page does: `look(video)` classifies a frame and gives the name of the first class, or null while there
   * is no network; `rate(perSecond)` and `announce(name)` show and say; `changed(on)` hears of every start and end; `complain(why)`.
   */
  constructor(video, page) {
    this.#video = video;
    this.#page = page;
    // A camera that nobody sees is off.
    document.addEventListener("visibilitychange", () => document.hidden && this.stop());
  }

  get on() {
    return this.#stream !== null;
  }

  async start() {
    this.stop();
    const turn = this.#turn;
    if (!navigator.mediaDevices?.getUserMedia) {
      this.#page.complain("cameras are only for secure pages: open this one with https://, or from localhost");
      return;
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: false,
        video: { facingMode: { ideal: "environment" }, width: { ideal: 640 }, height: { ideal: 480 } },
      });
    } catch (error) {
      if (turn === this.#turn) this.#page.complain(whyNot(error));
      return;
    }
    // Another picture was chosen while the visitor was asked.
    if (turn !== this.#turn || document.hidden) {
      for (const track of stream.getTracks()) track.stop();
      return;
    }
    this.#stream = stream;
    const [track] = stream.getVideoTracks();
    track.onended = () => {
      if (this.#stream !== stream) return;
      this.stop();
      this.#page.complain("the camera has gone");
    };
    this.#video.srcObject = stream;
    // Who looks at a camera at a desk expects a mirror.
    this.#video.classList.toggle("mirror", track.getSettings?.().facingMode !== "environment");
    this.#page.changed(true);
    try {
      await this.#video.play();
      await this.#loop(turn);
    } catch (error) {
      if (turn !== this.#turn) return;
      this.stop();
      this.#page.complain(error);
    }
  }

  async #loop(turn) {
    let [last, spent, name, since, said] = [0, 0, null, 0, null];
    while (turn === this.#turn) {
      await nextFrame(this.#video);
      if (turn !== this.#turn) return;
      if (!this.#video.videoWidth) continue;
      const first = await this.#page.look(this.#video);
      if (turn !== this.#turn) return;
      const now = performance.now();
      if (first === null) {
        last = 0;
        continue;
      }
      if (last) {
        spent = spent ? SMOOTH * spent + (1 - SMOOTH) * (now - last) : now - last;
        this.#page.rate(1000 / spent);
      }
      last = now;
      if (first !== name) [name, since] = [first, now];
      if (name !== said && now - since >= SETTLED) {
        said = name;
        this.#page.announce(name);
      }
    }
  }

  /** Switches it off. */
  stop() {
    this.#turn++;
    const stream = this.#stream;
    if (!stream) return;
    this.#stream = null;
    for (const track of stream.getTracks()) track.stop();
    this.#page.changed(false);
    this.#video.srcObject = null;
  }

  /** The frame that is shown now, as a file. */
  still() {
    const { videoWidth: width, videoHeight: height } = this.#video;
    if (!this.on || !width) return null;
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").drawImage(this.#video, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve));
  }
}
