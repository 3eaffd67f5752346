package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

// Image is an image on the engine.
type Image struct {
	ID     string            // what the engine calls it: the digest of its configuration, or of its manifest with containerd's image store
	Names  []string          // its tags
	Labels map[string]string // of its configuration
	Layers []string          // digests of its uncompressed layers, lowest first
}

// HasImage looks an image up by ID or name; found is false if the engine has none.
func (e *Engine) HasImage(ctx context.Context, ref string) (img Image, found bool, err error) {
	info, err := e.api.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return Image{}, false, nil
	}
	if err != nil {
		return Image{}, false, e.explain("looking for image "+ref, err)
	}
	img = Image{ID: info.ID, Names: info.RepoTags, Layers: info.RootFS.Layers}
	if info.Config != nil {
		img.Labels = info.Config.Labels
	}
	return img, true, nil
}

// LoadImage loads a docker-archive, for as long as the engine answers. Errors match [ErrNoSpace] when the engine's disk is full.
func (e *Engine) LoadImage(ctx context.Context, archive io.Reader) error {
	const doing = "loading an image"
	ctx, cancel := e.WhileAlive(ctx)
	defer cancel()
	resp, err := e.api.ImageLoad(ctx, archive, client.ImageLoadWithQuiet(true))
	if err != nil {
		return e.explain(doing, cmp.Or(context.Cause(ctx), err))
	}
	if err = errors.Join(readLoad(resp.Body), resp.Body.Close()); err != nil {
		return e.explain(doing, cmp.Or(context.Cause(ctx), err))
	}
	return nil
}

// readLoad reads the answer to a load: a stream of messages, one of which may tell a failure after a good status. Docker's own jsonmessage looks
// at errorDetail alone, and an engine may send no more than error.
func readLoad(answer io.Reader) error {
	for messages := json.NewDecoder(answer); ; {
		var message struct {
			Error       string
			ErrorDetail struct{ Message string }
		}
		err := messages.Decode(&message)
		if failure := cmp.Or(message.ErrorDetail.Message, message.Error); failure != "" {
			return errors.New(failure)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the engine's answer: %w", err)
		}
	}
}

// Images lists the images that carry a label, whatever its value.
func (e *Engine) Images(ctx context.Context, label string) ([]Image, error) {
	list, err := e.api.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", label))})
	if err != nil {
		return nil, e.explain("listing images labelled "+label, err)
	}
	images := make([]Image, 0, len(list))
	for _, summary := range list {
		images = append(images, Image{ID: summary.ID, Names: summary.RepoTags, Labels: summary.Labels})
	}
	return images, nil
}

// RemoveImage removes an image and its names. One that a container uses stays: removed is false then.
func (e *Engine) RemoveImage(ctx context.Context, img Image) (removed bool, err error) {
	refs := img.Names
	if len(refs) == 0 {
		refs = []string{img.ID}
	}
	for _, ref := range refs {
		_, err := e.api.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
		switch {
		case errdefs.IsConflict(err):
			return false, nil
		case err != nil && !errdefs.IsNotFound(err):
			return false, e.explain("removing image "+ref, err)
		}
	}
	return true, nil
}
