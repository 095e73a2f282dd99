// Notes every frame that the viewer's page presents: when, how large, and how old; run in the page beside it.
window.networkNotes = {frames: [], sizes: []};
{
    const notes = window.networkNotes, viewer = window.applianceViewer;
    let frames = viewer.frames, size = '';
    const look = () => {
        const now = performance.now(), {video} = viewer;
        if (viewer.frames !== frames) {
            frames = viewer.frames;
            notes.frames.push(now);
        }
        const seen = video ? `${video.videoWidth}x${video.videoHeight}` : '';
        if (seen !== size) notes.sizes.push([now, size = seen]);
        setTimeout(look, 4);
    };
    look();
}
