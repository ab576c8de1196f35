// Work that is asked for often and done rarely.

/** A function that runs the task at once, but never twice at a time nor within `ms`; the last call is never lost. */
export function atMostEvery(ms, task) {
  let running = false;
  let wanted = false;
  let last = -Infinity;
  let timer = null;
  async function run() {
    timer = null;
    running = true;
    wanted = false;
    last = performance.now();
    try {
      await task();
    } finally {
      running = false;
      if (wanted) call();
    }
  }
  function call() {
    wanted = true;
    if (running || timer !== null) return;
    timer = setTimeout(run, Math.max(0, last + ms - performance.now()));
  }
  return call;
}
