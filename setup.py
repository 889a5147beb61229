"""What pyproject.toml cannot say: the option files, kept in options/, are installed as rfdn_plugin/option_files.

All other metadata is in pyproject.toml.
"""

from setuptools import find_namespace_packages, setup

OPTIONS = 'rfdn_plugin.option_files'

setup(
    packages=[
        *find_namespace_packages(include=['rfdn_plugin', 'rfdn_plugin.*']),
        OPTIONS,
        *(f'{OPTIONS}.{folder}' for folder in find_namespace_packages('options')),
    ],
    package_dir={OPTIONS: 'options'},
    package_data={OPTIONS: ['**/*.yml', '**/*.json']},
)
