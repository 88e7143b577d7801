//go:build tools

// Package peers pins the programs of others that network tests talk with. Nothing here is compiled into Beeline:
// `cargo xtask test network` builds each of these packages by its path, with the versions that go.mod and go.sum hold.
package peers

import (
	_ "github.com/fullstorydev/grpcurl/cmd/grpcurl"
	_ "github.com/summerwind/h2spec/cmd/h2spec"
)
