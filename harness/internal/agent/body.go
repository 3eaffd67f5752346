package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// errorTrailer carries the error of a body that broke off after it had begun.
const errorTrailer = "Vlandemux-Error"

// countingWriter remembers whether anything was written.
type countingWriter struct {
	http.ResponseWriter
	written bool
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.written = true
	n, err := w.ResponseWriter.Write(p)
	if err == nil {
		err = http.NewResponseController(w.ResponseWriter).Flush()
	}
	return n, err
}

// serveBody writes a body of raw octets. An error before the first octet is an answer of its own, a later one travels in a trailer.
func serveBody(w http.ResponseWriter, write func(io.Writer) error) {
	body := &countingWriter{ResponseWriter: w}
	err := write(body)
	switch {
	case err == nil:
	case body.written:
		w.Header().Set(http.TrailerPrefix+errorTrailer, oneLine(err.Error()))
	default:
		fail(w, http.StatusInternalServerError, err, nil)
	}
}

// download asks for a body of raw octets. Reading it gives the agent's error where the agent had one.
func (c *Client) download(ctx context.Context, path string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, baseURL+path, nil)
	if err != nil {
		return nil, fmt.Errorf("making the request to %s: %w", path, err)
	}
	response, err := c.answer(r, nil) //nolint:bodyclose // the body is returned: the caller closes it
	if err != nil {
		return nil, err
	}
	return &bodyReader{ctx: ctx, client: c, path: path, response: response}, nil
}

// bodyReader turns the trailer into the error that ends the body.
type bodyReader struct {
	ctx      context.Context
	client   *Client
	path     string
	response *http.Response
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.response.Body.Read(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		if text := b.response.Trailer.Get(errorTrailer); text != "" {
			return n, &RemoteError{Text: manyLines(text)}
		}
		return n, io.EOF
	default:
		return n, fmt.Errorf("reading the body of %s: %w", b.path, ended(b.ctx, b.client, err))
	}
}

func (b *bodyReader) Close() error { return b.response.Body.Close() }

// A header holds one line of printable text; an error may have several.
func oneLine(text string) string { return url.QueryEscape(text) }
func manyLines(text string) (plain string) {
	plain, err := url.QueryUnescape(text)
	if err != nil {
		return text
	}
	return plain
}
