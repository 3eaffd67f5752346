package e2e

// The adapters that DEMUX may name are in testdata, where ./... does not look: a change of the API has to find them all the same.
import _ "github.com/vlandemux/vlandemux/e2e/testdata/adapters/plane"
