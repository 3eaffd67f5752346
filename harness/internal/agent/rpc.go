package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Nothing is what a call takes or gives when there is nothing to say.
type Nothing struct{}

// failure is the body of every answer that is not 200. Report is what was done before the error; absent when nothing was.
type failure struct {
	Error  string          `json:"error"`
	Report json.RawMessage `json:"report,omitempty"`
}

// RemoteError is an error which happened in the agent, with its whole text.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return e.Text }

// handle serves one call: a JSON request, one JSON reply. When fn fails, its reply travels beside the error.
func handle[Request, Reply any](mux *http.ServeMux, path string, fn func(context.Context, Request) (Reply, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var request Request
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("reading the request to %s: %w", path, err), nil)
			return
		}
		reply, err := fn(r.Context(), request)
		if err != nil {
			fail(w, http.StatusInternalServerError, err, reply)
			return
		}
		body, err := json.Marshal(reply)
		if err != nil {
			fail(w, http.StatusInternalServerError, fmt.Errorf("encoding the reply of %s: %w", path, err), nil)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(body) //nolint:errcheck // the caller is gone: nobody is left to tell
	})
}

// fail answers with err and, when it can be encoded, the report.
func fail(w http.ResponseWriter, status int, err error, report any) {
	answer := failure{Error: err.Error()}
	if report != nil {
		answer.Report, _ = json.Marshal(report) //nolint:errcheck // the error matters more than the report beside it
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer) //nolint:errcheck // the caller is gone: nobody is left to tell
}

// call asks for one reply. The reply is filled in as far as the agent got, also when err is not nil.
func call[Request, Reply any](ctx context.Context, c *Client, path string, request Request) (Reply, error) {
	var reply Reply
	body, err := open(ctx, c, path, request, &reply)
	if err != nil {
		return reply, err
	}
	defer body.Close() //nolint:errcheck // only read
	if err := json.NewDecoder(body).Decode(&reply); err != nil {
		return reply, fmt.Errorf("reading the agent's reply to %s: %w", path, err)
	}
	return reply, nil
}

// open sends the request and returns the body of a good answer; on a bad one it decodes the report, if any, into report.
func open(ctx context.Context, c *Client, path string, request, report any) (io.ReadCloser, error) {
	content, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encoding the request to %s: %w", path, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+path, bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("making the request to %s: %w", path, err)
	}
	response, err := c.answer(r, report)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// answer is open for any request.
func (c *Client) answer(r *http.Request, report any) (*http.Response, error) {
	path := r.URL.Path
	response, err := c.RoundTripper().RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("calling %s: %w", path, err)
	}
	response.Body = &answerBody{response.Body, r.Context(), c}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the agent's error from %s: %w", path, err)
	}
	var answer failure
	if err := json.Unmarshal(text, &answer); err != nil || answer.Error == "" {
		// No route, or a proxy's own answer: its text is all there is.
		return nil, &RemoteError{Text: fmt.Sprintf("calling %s: %s: %s", path, response.Status, bytes.TrimSpace(text))}
	}
	remote := &RemoteError{Text: answer.Error}
	if len(answer.Report) > 0 && report != nil {
		if err := json.Unmarshal(answer.Report, report); err != nil {
			return nil, errors.Join(remote, fmt.Errorf("reading the report beside it: %w", err))
		}
	}
	return nil, remote
}

// answerBody says why it broke off.
type answerBody struct {
	io.ReadCloser
	ctx    context.Context
	client *Client
}

// Read gives the better reason for an error: the caller's context, or the stream.
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	if b.ctx.Err() != nil {
		return n, context.Cause(b.ctx)
	}
	select {
	case <-b.client.Done():
		return n, &StreamError{Cause: b.client.watch.cause()}
	default:
		return n, err
	}
}
