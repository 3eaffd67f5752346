package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// builtImage is an image in memory: a layer with its programs, and its configuration.
type builtImage struct {
	program Program
	layer   []byte
	config  []byte
	diffID  string // digest of the layer
	id      string // digest of the configuration: the image's ID
}

// newImage lays an image out of compiled programs. arch is a GOARCH.
func newImage(program Program, arch string, files []tarEntry) *builtImage {
	layer := writeTar(append([]tarEntry{
		// The mount points of /run and /tmp.
		{name: "run/", mode: 0o755},
		{name: "tmp/", mode: 0o1777},
	}, files...)...)
	return newLabelledImage(program, arch, layer, Label)
}

// newLabelledImage puts a configuration to a layer. The label's value is the program's name.
func newLabelledImage(program Program, arch string, layer []byte, label string) *builtImage {
	img := &builtImage{program: program, layer: layer, diffID: digest.FromBytes(layer).String()}
	epoch := time.Unix(0, 0).UTC() // when everything was made, so that nothing depends on when it was
	config, err := json.Marshal(ocispec.Image{
		Created:  &epoch,
		Platform: ocispec.Platform{Architecture: arch, OS: "linux"},
		Config: ocispec.ImageConfig{
			Entrypoint: program.Entrypoint,
			Labels: map[string]string{
				label:                               program.Name,
				"org.opencontainers.image.title":    "vlandemux " + program.Name,
				"org.opencontainers.image.source":   "https://" + module,
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
			WorkingDir: "/",
		},
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.Digest(img.diffID)}},
		History: []ocispec.History{{Created: &epoch, CreatedBy: strings.Join(program.Packages, " ")}},
	})
	if err != nil {
		panic(err) // strings, slices and maps of strings always marshal
	}
	img.config = config
	img.id = digest.FromBytes(config).String()
	return img
}

// tag is its name on the engine. It holds the beginning of the ID: images of other source versions have other names and stay usable.
func (i *builtImage) tag() string {
	return "vlandemux/" + i.program.Name + ":" + i.id[len("sha256:"):][:12]
}

// archive is what `docker load` takes.
func (i *builtImage) archive() io.Reader {
	config := i.id[len("sha256:"):] + ".json"
	layer := i.diffID[len("sha256:"):] + "/layer.tar"
	manifest, err := json.Marshal([]struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{{config, []string{i.tag()}, []string{layer}}})
	if err != nil {
		panic(err) // strings always marshal
	}
	return bytes.NewReader(writeTar(
		tarEntry{name: config, mode: 0o644, data: i.config},
		tarEntry{name: layer, mode: 0o644, data: i.layer},
		tarEntry{name: "manifest.json", mode: 0o644, data: manifest},
	))
}

// tarEntry is a file, or a folder if its name ends in a slash.
type tarEntry struct {
	name string
	mode int64
	data []byte
}

// writeTar writes entries in the given order, owned by root, made at the epoch.
func writeTar(entries ...tarEntry) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, entry := range entries {
		header := &tar.Header{Name: entry.name, Mode: entry.mode, Size: int64(len(entry.data)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		// Nothing can fail: a buffer takes everything, and the names and sizes fit USTAR.
		if err := w.WriteHeader(header); err != nil {
			panic(err)
		}
		if _, err := w.Write(entry.data); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}
