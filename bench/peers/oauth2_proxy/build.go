//go:build tools

package peers

import _ "github.com/oauth2-proxy/oauth2-proxy/v7"
