# kafkajs. Its own package for zstd is built on an addon that no longer compiles: another takes its place.

case_add kafkajs kafkajs 2.2.4 quick install_kafkajs kafkajs 120

install_kafkajs() {
	apt_need node nodejs
	apt_need npm npm
	once "node/kafkajs-$(md5sum <"$COMPAT/kafkajs/package.json" | cut -c-8)" kafkajs_packages
}
kafkajs_packages() { # FOLDER
	cp "$COMPAT/kafkajs/package.json" "$COMPAT/kafkajs/round.js" "$1"
	(cd "$1" && npm install --no-audit --no-fund --loglevel=error)
}
kafkajs() {
	local folder
	folder=$CACHE/node/kafkajs-$(md5sum <"$COMPAT/kafkajs/package.json" | cut -c-8)
	cp "$COMPAT/kafkajs/round.js" "$folder"
	KAFKAJS_NO_PARTITIONER_WARNING=1 node "$folder/round.js" "$BOOTSTRAP"
}
