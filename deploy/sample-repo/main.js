'use strict';

const colors = require('picocolors');

const name = process.argv[2] || 'world';
console.log(colors.green(`Hello, ${name}, from a sandbox.`));
