/** Calls back for each frame that a video element presents, with as much as the browser tells about it. */

/**
 * Until `wanted` returns false. Without requestVideoFrameCallback the element's own frame count is watched instead;
 * such callbacks carry no RTP timestamp, so their frames can be shown and counted but never joined.
 */
export function onPresented(video: HTMLVideoElement, wanted: () => boolean, presented: (metadata: VideoFrameCallbackMetadata) => void): void {
  if ("requestVideoFrameCallback" in video) {
    const next = (_: number, metadata: VideoFrameCallbackMetadata): void => {
      if (!wanted()) return;
      video.requestVideoFrameCallback(next);
      presented(metadata);
    };
    video.requestVideoFrameCallback(next);
    return;
  }
  watchCount(video, wanted, presented);
}

function watchCount(video: HTMLVideoElement, wanted: () => boolean, presented: (metadata: VideoFrameCallbackMetadata) => void): void {
  let before = 0;
  const look = (now: number): void => {
    if (!wanted()) return;
    requestAnimationFrame(look);
    const { totalVideoFrames } = video.getVideoPlaybackQuality();
    if (totalVideoFrames === before) return;
    before = totalVideoFrames;
    presented({ presentationTime: now, expectedDisplayTime: now, mediaTime: video.currentTime, width: video.videoWidth, height: video.videoHeight, presentedFrames: totalVideoFrames });
  };
  requestAnimationFrame(look);
}
