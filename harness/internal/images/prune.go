package images

import (
	"context"
	"slices"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

// Prune removes this project's images except those to keep and those in use by a container, and returns the names of what it removed. Images
// of others are never touched.
func Prune(ctx context.Context, e *engine.Engine, keep ...string) ([]string, error) {
	return prune(ctx, e, Label, keep...)
}

// prune does so for the images that carry a label.
func prune(ctx context.Context, e *engine.Engine, label string, keep ...string) ([]string, error) {
	list, err := e.Images(ctx, label)
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, img := range list {
		if slices.Contains(keep, img.ID) {
			continue
		}
		gone, err := e.RemoveImage(ctx, img)
		if err != nil {
			return removed, err
		}
		if gone {
			removed = append(removed, append(img.Names, img.ID)[0])
		}
	}
	return removed, nil
}
