/** Keeps the screen from going dark while a picture is shown. A browser without wake locks simply does not. */

export class ScreenWake {
  private lock: WakeLockSentinel | null = null;
  private wanted = false;

  constructor() {
    // The browser releases the lock of a hidden page, so it is asked for again when the page returns.
    document.addEventListener("visibilitychange", () => void this.apply());
  }

  want(wanted: boolean): void {
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    void this.apply();
  }

  private async apply(): Promise<void> {
    if (!("wakeLock" in navigator)) return;
    if (!this.wanted) {
      await this.lock?.release().catch(() => undefined);
      this.lock = null;
    } else if (!document.hidden && (this.lock === null || this.lock.released)) {
      this.lock = await navigator.wakeLock.request("screen").catch(() => null);
    }
  }
}
