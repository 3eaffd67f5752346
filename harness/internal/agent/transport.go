package agent

import "net/http"

// cleartextHTTP2 is the one protocol of both ends.
func cleartextHTTP2() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

// The windows of HTTP/2's flow control, octets. The connection's window is far larger than a stream's, so that a stream nobody reads
// (a capture left alone) never stalls the calls beside it.
const (
	streamWindow     = 4 << 20
	connectionWindow = 1 << 30
	frameSize        = 256 << 10
)

// windows is what this end is ready to receive.
func windows() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          4096,
		MaxReadFrameSize:              frameSize,
		MaxReceiveBufferPerStream:     streamWindow,
		MaxReceiveBufferPerConnection: connectionWindow,
	}
}
