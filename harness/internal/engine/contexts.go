package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// contextHost returns the address of the docker command's current context: what Docker Desktop and rootless installations set up instead of
// DOCKER_HOST. It is "" if DOCKER_HOST is set or the context is the default one.
func contextHost() (string, error) {
	if os.Getenv("DOCKER_HOST") != "" {
		return "", nil
	}
	folder := os.Getenv("DOCKER_CONFIG")
	if folder == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", nil //nolint:nilerr // without a home folder there is no configuration
		}
		folder = filepath.Join(home, ".docker")
	}
	name := os.Getenv("DOCKER_CONTEXT")
	if name == "" {
		var config struct{ CurrentContext string }
		switch err := readJSON(filepath.Join(folder, "config.json"), &config); {
		case errors.Is(err, fs.ErrNotExist):
			return "", nil
		case err != nil:
			return "", err
		}
		name = config.CurrentContext
	}
	if name == "" || name == "default" {
		return "", nil
	}
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	digest := sha256.Sum256([]byte(name))
	if err := readJSON(filepath.Join(folder, "contexts", "meta", hex.EncodeToString(digest[:]), "meta.json"), &meta); err != nil {
		return "", fmt.Errorf("reading docker context %q: %w; choose another with `docker context use`, or set DOCKER_HOST", name, err)
	}
	return meta.Endpoints["docker"].Host, nil
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}
