// Plays a WHEP URL in a bare page and reads the burnt-in time stamp of every frame back through a canvas.
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
    const canvas = document.createElement('canvas');
    canvas.width = 1024; canvas.height = 16;
    const strip = canvas.getContext('2d', {willReadFrequently: true});
    const sync = '1010010111000011';
    const result = window.measured = {latencies: [], unread: 0, frames: 0, postedAt: 0, firstFrameAt: 0, peer};
    const onFrame = () => {
        if (!result.firstFrameAt) result.firstFrameAt = performance.now();
        result.frames++;
        strip.drawImage(video, 0, 0, 1024, 16, 0, 0, 1024, 16);
        const pixels = strip.getImageData(0, 8, 1024, 1).data;
        let microseconds = 0, tail = '';
        for (let cell = 0; cell < 64; cell++) {
            const bit = pixels[(cell * 16 + 8) * 4 + 1] > 128 ? 1 : 0;
            if (cell < 48) microseconds = microseconds * 2 + bit; else tail += bit;
        }
        const now = performance.timeOrigin + performance.now();
        if (tail === sync) result.latencies.push(now - microseconds / 1000); else result.unread++;
        video.requestVideoFrameCallback(onFrame);
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
