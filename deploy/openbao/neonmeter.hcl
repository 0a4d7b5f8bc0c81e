# What neonmeter may do in OpenBao or Vault: look at keys and rotations, never at a secret.
#   bao policy write neonmeter neonmeter.hcl
#   bao token create -policy=neonmeter -no-default-policy -orphan -period=72h
# `transit` and `database` are the usual mounts: change them to yours, and the settings posture.vaults with them.

# Which keys there are, their versions and flags. Key material is under transit/export, which is not granted.
path "transit/keys" {
  capabilities = ["list"]
}
path "transit/keys/*" {
  capabilities = ["read"]
}

# When the password of a database role was rotated last. The password itself is under database/static-creds, which is
# not granted.
path "database/static-roles" {
  capabilities = ["list"]
}
path "database/static-roles/*" {
  capabilities = ["read"]
}

# Whether an audit device is on. OpenBao asks for sudo to read this; leave it out, and that one control is an error.
path "sys/audit" {
  capabilities = ["read", "sudo"]
}

# sys/health needs no token. What reads secrets is refused also when another policy of the token would allow it.
path "transit/export/*" {
  capabilities = ["deny"]
}
path "transit/backup/*" {
  capabilities = ["deny"]
}
path "transit/decrypt/*" {
  capabilities = ["deny"]
}
path "database/static-creds/*" {
  capabilities = ["deny"]
}
path "database/creds/*" {
  capabilities = ["deny"]
}
