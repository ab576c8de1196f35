// Gets an agent's attention who looks elsewhere: a sound, a number in the title, a notification.

import { read, write } from "./kept.js";
import { word } from "./words.js";

let missed = 0;
let audio = null;

export const soundIsOn = () => read("sound", true);
export const setSound = (on) => write("sound", on);
export const notificationsAreOn = () => "Notification" in window && Notification.permission === "granted" && read("notify", true);

/** Asked for by a click only: a browser refuses it else. */
export async function allowNotifications() {
  if (!("Notification" in window)) return false;
  const allowed = (await Notification.requestPermission()) === "granted";
  write("notify", allowed);
  return allowed;
}

const looksAtIt = () => !document.hidden && document.hasFocus();

/** Something new; `open` is called where its notification is clicked. */
export function alertAgent(text, open, { evenIfLooking = false } = {}) {
  if (looksAtIt() && !evenIfLooking) return;
  if (soundIsOn()) chime();
  if (looksAtIt()) return;
  missed += 1;
  showTitle();
  if (!notificationsAreOn()) return;
  const shown = new Notification(word("title"), { body: text, tag: text });
  shown.addEventListener("click", () => {
    window.focus();
    shown.close();
    open();
  });
}

/** The page's name, with what was missed before it. */
export function showTitle() {
  document.title = missed ? `(${missed}) ${word("title")}` : word("title");
}

function seen() {
  if (!looksAtIt()) return;
  missed = 0;
  showTitle();
}

window.addEventListener("focus", seen);
document.addEventListener("visibilitychange", seen);

/** Two soft notes. */
export function chime() {
  try {
    audio ??= new AudioContext();
    audio.resume();
    note(659.3, 0);
    note(880, 0.14);
  } catch {
    // No sound device.
  }
}

function note(frequency, after) {
  const start = audio.currentTime + after;
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  tone.frequency.value = frequency;
  volume.gain.setValueAtTime(0.0001, start);
  volume.gain.exponentialRampToValueAtTime(0.12, start + 0.02);
  volume.gain.exponentialRampToValueAtTime(0.0001, start + 0.45);
  tone.connect(volume).connect(audio.destination);
  tone.start(start);
  tone.stop(start + 0.5);
}
