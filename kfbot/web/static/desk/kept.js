// What this browser remembers. A page that may not keep anything works, it only forgets.

const PREFIX = "kfbot.desk.";

export function read(key, otherwise = null) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Keep a value; null forgets it. */
export function write(key, value) {
  try {
    if (value === null || value === "") localStorage.removeItem(PREFIX + key);
    else localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // Full or forbidden.
  }
}
