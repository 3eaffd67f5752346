package engine

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	dockercontext "github.com/docker/cli/cli/context"
	"github.com/docker/cli/cli/context/store"
	"github.com/docker/docker/client"
)

// currentContext names the context that the docker command uses: what Docker Desktop and rootless installations set up instead of DOCKER_HOST.
// It is "" if DOCKER_HOST is set or the context is the default one.
func currentContext() (string, error) {
	name := os.Getenv("DOCKER_CONTEXT")
	if os.Getenv("DOCKER_HOST") != "" || name == "default" {
		return "", nil
	}
	if name != "" {
		return name, nil
	}
	folder, err := configFolder()
	if err != nil {
		return "", nil //nolint:nilerr // without a home folder there is no configuration
	}
	path := filepath.Join(folder, "config.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	var config struct{ CurrentContext string }
	if err := cmp.Or(err, json.Unmarshal(data, &config)); err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	if config.CurrentContext == "default" {
		return "", nil
	}
	return config.CurrentContext, nil
}

func configFolder() (string, error) {
	if folder := os.Getenv("DOCKER_CONFIG"); folder != "" {
		return folder, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".docker"), err
}

// dockerEndpoint is what a context calls the way to its engine.
const dockerEndpoint = "docker"

// readContext returns the address of the engine that a context of the docker command leads to, and the certificates for the way there.
func readContext(name string) (host string, certificates *tls.Config, err error) {
	folder, err := configFolder()
	if err != nil {
		return "", nil, err
	}
	contexts := store.New(filepath.Join(folder, "contexts"), store.NewConfig(
		func() any { return &struct{}{} },
		store.EndpointTypeGetter(dockerEndpoint, func() any { return &dockercontext.EndpointMetaBase{} })))
	meta, err := contexts.GetMetadata(name)
	if errdefs.IsNotFound(err) { // whose own words are a file named by a hash
		return "", nil, fmt.Errorf("there is none of that name; `docker context ls` lists those there are, and an address begins with %s://", strings.Join(schemes(), "://, "))
	}
	if err != nil {
		return "", nil, err
	}
	endpoint, ok := meta.Endpoints[dockerEndpoint].(dockercontext.EndpointMetaBase)
	if !ok {
		return "", nil, errors.New("it leads to no Docker engine")
	}
	files, err := dockercontext.LoadTLSData(contexts, name, dockerEndpoint)
	if err != nil || (files == nil && !endpoint.SkipTLSVerify) {
		return endpoint.Host, nil, err
	}
	certificates = &tls.Config{InsecureSkipVerify: endpoint.SkipTLSVerify} //nolint:gosec // only where the user's context says so
	if files != nil && files.CA != nil {
		certificates.RootCAs = x509.NewCertPool()
		if !certificates.RootCAs.AppendCertsFromPEM(files.CA) {
			return "", nil, errors.New("its ca.pem holds no certificate")
		}
	}
	if files != nil && files.Cert != nil {
		pair, err := tls.X509KeyPair(files.Cert, files.Key)
		if err != nil {
			return "", nil, fmt.Errorf("its cert.pem and key.pem: %w", err)
		}
		certificates.Certificates = []tls.Certificate{pair}
	}
	return endpoint.Host, certificates, nil
}

// withCertificates has the client prove who it is, and who the engine is.
func withCertificates(certificates *tls.Config) client.Opt {
	return client.WithHTTPClient(&http.Client{Transport: &http.Transport{TLSClientConfig: certificates}, CheckRedirect: client.CheckRedirect})
}
