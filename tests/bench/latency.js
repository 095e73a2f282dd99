// Plays a WHEP URL in a bare page and reads the burnt-in time stamp of every frame back.
// The same script measures the appliance and its peers: only what is under test differs.
window.startMeasuring = async (url, token, wanted) => {
    const peer = new RTCPeerConnection();
    const transceiver = peer.addTransceiver('video', {direction: 'recvonly'});
    const codecs = RTCRtpReceiver.getCapabilities('video').codecs.filter(c => c.mimeType === wanted || c.mimeType === 'video/rtx');
    transceiver.setCodecPreferences(codecs);
    if ('jitterBufferTarget' in transceiver.receiver) transceiver.receiver.jitterBufferTarget = 0;
    const video = document.createElement('video');
    video.muted = video.autoplay = video.playsInline = true;
    video.style.width = '1280px';
    document.body.append(video);
    video.srcObject = new MediaStream([transceiver.receiver.track]);
    const sync = '1010010111000011';
    const span = 2 ** 48;
    const result = window.measured = {latencies: [], unread: 0, frames: 0, postedAt: 0, firstFrameAt: 0, peer};
    const strip = new Uint8Array(1024 * 2 * 4);
    const onFrame = async () => {
        const shown = performance.timeOrigin + performance.now();
        if (!result.firstFrameAt) result.firstFrameAt = performance.now();
        result.frames++;
        video.requestVideoFrameCallback(onFrame);
        // 0.2 ms, against 9 ms for a canvas read-back, which would disturb what is measured.
        const frame = new VideoFrame(video);
        await frame.copyTo(strip, {rect: {x: 0, y: 8, width: 1024, height: 2}, format: 'RGBA'});
        frame.close();
        let microseconds = 0, tail = '';
        for (let cell = 0; cell < 64; cell++) {
            const bit = strip[(cell * 16 + 8) * 4 + 1] > 128 ? 1 : 0;
            if (cell < 48) microseconds = microseconds * 2 + bit; else tail += bit;
        }
        // 48 bits of microseconds wrap every nine years.
        if (tail === sync) result.latencies.push(((shown * 1000 - microseconds) % span) / 1000); else result.unread++;
    };
    video.requestVideoFrameCallback(onFrame);
    await peer.setLocalDescription(await peer.createOffer());
    if (!token) await new Promise(done => { peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && done(); setTimeout(done, 1500); });
    const headers = {'Content-Type': 'application/sdp'};
    if (token) headers.Authorization = 'Bearer ' + token;
    result.postedAt = performance.now();
    const answer = await fetch(url, {method: 'POST', headers, body: peer.localDescription.sdp});
    const text = await answer.text();
    if (answer.status >= 300) throw new Error(answer.status + ' ' + text);
    result.location = answer.headers.get('Location');
    await peer.setRemoteDescription({type: 'answer', sdp: text});
};
window.stopMeasuring = async (token) => {
    const {peer, location} = window.measured;
    if (location && token) await fetch(location, {method: 'DELETE', headers: {Authorization: 'Bearer ' + token}});
    peer.close();
    document.querySelector('video').remove();
};
